"""Objects of one S3 bucket: read, measured, and addresses signed by which others may fetch them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from planner.errors import AuthError, ProvisioningError, SpecError

REFUSED = frozenset({"403", "AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
ABSENT = frozenset({"404", "NoSuchBucket", "NoSuchKey"})


class S3Objects:
    """Those below `prefix`. Credentials are those of AWS's own variables and files. All calls block.

    `region` is the bucket's, by which addresses have to be signed: asked for where it is not given, and empty where the
    server does not tell it.
    """

    def __init__(self, bucket: str, prefix: str, region: str = "") -> None:
        self._bucket = bucket
        self._prefix = prefix
        self.region = region or _region_of(bucket)
        with _explained(bucket, prefix):
            self._client = _client(self.region)

    def read(self, name: str) -> bytes:
        """A small object's bytes. Raises SpecError, AuthError and ProvisioningError."""
        answer = self._ask("get_object", name)
        with _explained(self._bucket, self._key(name)):
            body: bytes = answer["Body"].read()
        return body

    def size(self, name: str) -> int:
        """In bytes. Raises SpecError, AuthError and ProvisioningError."""
        return int(self._ask("head_object", name)["ContentLength"])

    def signed(self, name: str, seconds: int) -> str:
        """An address that anyone may fetch the object from, for so long. Raises AuthError."""
        place = {"Bucket": self._bucket, "Key": self._key(name)}
        with _explained(self._bucket, place["Key"]):
            return str(self._client.generate_presigned_url("get_object", Params=place, ExpiresIn=seconds))

    def _ask(self, call: str, name: str) -> dict[str, Any]:
        key = self._key(name)
        with _explained(self._bucket, key):
            answer: dict[str, Any] = getattr(self._client, call)(Bucket=self._bucket, Key=key)
        return answer

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name


@contextmanager
def _explained(bucket: str, key: str) -> Iterator[None]:
    """Turn what the SDK raises into errors of ours."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refusal(bucket, key, error.response["Error"]) from error
    except BotoCoreError as error:
        raise _unanswered(bucket, error) from error


def _region_of(bucket: str) -> str:
    """As S3 says it, to those too whom it refuses; empty where nobody says. What else is wrong shows at first use.

    Reads and measures find their way by themselves: S3 leads them to the bucket's region. What is signed does not.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        said = _client("").head_bucket(Bucket=bucket)
    except ClientError as error:
        said = error.response
    except BotoCoreError:
        return ""
    return str(said.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", ""))


def _client(region: str) -> Any:
    """Of a session of its own: the shared one is no thread's, and keeps the first credentials that it found."""
    try:
        import boto3
    except ImportError as error:
        raise SpecError(
            "Weights in S3 need boto3, which is not installed.", hint="In a checkout: pip install '.[aws]'"
        ) from error
    from botocore.config import Config

    session, v4 = boto3.session.Session(), Config(signature_version="s3v4")
    client = session.client("s3", region_name=region or None, config=v4)
    if not region or not str(client.meta.endpoint_url).endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return client
    # Else addresses would name S3's host of all regions, which leads elsewhere those who ask for a young bucket.
    return session.client("s3", region_name=region, config=v4.merge(Config(s3={"addressing_style": "virtual"})))


def _refusal(bucket: str, key: str, said: dict[str, Any]) -> SpecError | AuthError:
    code = str(said.get("Code"))
    if code in REFUSED:
        return AuthError(
            f"S3 refuses s3://{bucket}/{key} to these credentials: {code}.", hint="They need s3:GetObject."
        )
    if code in ABSENT:
        return SpecError(
            f"There is no s3://{bucket}/{key}.", hint="Make it in the model's folder: sha256sum * >SHA256SUMS"
        )
    return SpecError(f"S3 answers for s3://{bucket}/{key}: {said.get('Message', code)}")


def _unanswered(bucket: str, error: Exception) -> AuthError | ProvisioningError:
    """Of an error of the SDK's own: there are no credentials, or no way there."""
    from botocore import exceptions as sdk

    nobody = (
        sdk.NoCredentialsError,
        sdk.PartialCredentialsError,
        sdk.CredentialRetrievalError,
        sdk.TokenRetrievalError,
        sdk.ProfileNotFound,
    )
    message = f"The bucket {bucket} can't be asked: {str(error).rstrip('.')}."
    if isinstance(error, nobody):
        return AuthError(message, hint="Set AWS's variables, or run `aws configure`.")
    return ProvisioningError(message, hint="Is the network up? Run the command again.")
