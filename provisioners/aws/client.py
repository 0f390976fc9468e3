"""AWS's SDK behind our own verbs and errors: the only module that imports it.

The SDK sends requests again by itself, creates too, and makes up a token where there is none; so it never retries here,
and reads are repeated by us. It blocks, so every call runs in a worker thread. A client takes long to make and can be
shared by threads: there is one a service and region.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

from planner.errors import AuthError, ProvisioningError, SpecError
from provisioners.aws.answers import UNREACHED, Failure, create_refusal, refusal, unknown

CONNECT_S, ANSWER_S = 10.0, 30.0
READ_AGAIN_AFTER_S = (0.5, 2.0, 6.0)
CALLS_AT_ONCE = 16
MOST_PAGES = 400
MOST_FILTERED = 200
"""Values that EC2 takes in one filter."""
HOME_REGION = "us-east-1"
"""Asked for what is the same everywhere, where neither environment nor profile names a region."""

Sleep = Callable[[float], Awaitable[None]]


class AwsClients:
    """One account at AWS, as `session` (of boto3) knows it: by default that of the environment."""

    def __init__(
        self, session: Any = None, *, sleep: Sleep = asyncio.sleep, now: Callable[[], float] = time.time
    ) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise SpecError("AWS's SDK is not installed.", hint="In a checkout: pip install '.[aws]'") from error
        try:
            self._session = session or boto3.Session()
        except BotoCoreError as error:  # a profile that there is not
            raise AuthError(f"{error}", hint="Check AWS_PROFILE, and ~/.aws/config.") from error
        self._config = Config(
            connect_timeout=CONNECT_S,
            read_timeout=ANSWER_S,
            retries={"total_max_attempts": 1},
            max_pool_connections=CALLS_AT_ONCE,
        )
        self._sleep = sleep
        self._now = now
        self._account = ""
        self._clients: dict[tuple[str, str], Any] = {}
        self._making = threading.Lock()
        self._threads = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="aws")

    @property
    def home_region(self) -> str:
        return self._session.region_name or HOME_REGION

    @property
    def has_credentials(self) -> bool:
        """Whether the environment has any; good ones or not, is not known before they are used."""
        from botocore.exceptions import BotoCoreError

        try:
            return self._session.get_credentials() is not None
        except BotoCoreError:
            return True  # there are some, and something is wrong with them: the first call says what

    async def call(
        self,
        doing: str,
        service: str,
        region: str,
        operation: str,
        parameters: Mapping[str, Any],
        *,
        fine: Collection[str] = (),
    ) -> dict[str, Any]:
        """Ask, and ask again where that may help: only for what may be done twice. An error in `fine` answers {}."""
        for pause_s in (*READ_AGAIN_AFTER_S, None):
            answer = await self._asked(service, region, operation, parameters)
            if not isinstance(answer, Failure):
                return answer
            if answer.code in fine:
                return {}
            if pause_s is None or not answer.passing:
                raise refusal(doing, answer)
            await self._sleep(pause_s)
        raise AssertionError  # the last pause is None

    async def account(self) -> str:
        """The number of the account, asked for once."""
        if not self._account:
            doing = "Asking which account the credentials are of"
            answer = await self.call(doing, "sts", self.home_region, "get_caller_identity", {})
            self._account = str(answer["Account"])
        return self._account

    async def pages(
        self, doing: str, service: str, region: str, operation: str, parameters: Mapping[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        """Every page of an answer. Raises ProvisioningError where one can't be had, or they don't end."""
        token = ""
        for _ in range(MOST_PAGES):
            page = await self.call(
                doing, service, region, operation, {**parameters, **({"NextToken": token} if token else {})}
            )
            yield page
            before, token = token, page.get("NextToken") or ""
            if not token:
                return
            if token == before:
                break
        raise ProvisioningError(f"{doing}: AWS's pages do not end.")

    async def run_instance(self, doing: str, region: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Rent one machine, and return it as AWS describes it: sent once, whatever happens."""
        answer = await self._asked("ec2", region, "run_instances", parameters)
        if isinstance(answer, Failure):
            raise create_refusal(doing, answer)
        try:
            [instance] = answer["Instances"]
            return {**instance, "InstanceId": str(instance["InstanceId"])}
        except (LookupError, TypeError, ValueError) as error:
            raise unknown(doing, f"its answer names no machine: {str(answer)[:100]}") from error

    async def _asked(
        self, service: str, region: str, operation: str, parameters: Mapping[str, Any]
    ) -> dict[str, Any] | Failure:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._answer, service, region, operation, dict(parameters))

    def _answer(
        self, service: str, region: str, operation: str, parameters: dict[str, Any]
    ) -> dict[str, Any] | Failure:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            client = self._client(service, region)
        except (BotoCoreError, ValueError) as error:  # a name of a region or an endpoint that can be none
            return Failure(UNREACHED, 0, str(error).rstrip("."))
        try:
            answer = getattr(client, operation)(**parameters)
        except ClientError as error:
            return self._refused(error.response)
        except BotoCoreError as error:
            return _unanswered(error)
        except (ResponseParserError, ValueError, LookupError, TypeError, AttributeError) as error:
            return Failure(type(error).__name__, 0, str(error))  # the SDK, on a body of another shape
        return answer if isinstance(answer, dict) else Failure("NoAnswer", 0, repr(answer))

    def _client(self, service: str, region: str) -> Any:
        with self._making:
            if (service, region) not in self._clients:
                made = self._session.client(service, region_name=region, config=self._config)
                self._clients[service, region] = made
            return self._clients[service, region]

    def _refused(self, response: Mapping[str, Any]) -> Failure:
        said, about = response.get("Error", {}), response.get("ResponseMetadata", {})
        return Failure(
            str(said.get("Code", "")),
            int(about.get("HTTPStatusCode", 0)),
            str(said.get("Message", "")),
            self._ahead_s(about.get("HTTPHeaders", {}).get("date", "")),
        )

    def _ahead_s(self, date: str) -> float:
        """How far our clock is ahead of the one that dated an answer; 0 where it is not dated."""
        try:
            return self._now() - parsedate_to_datetime(date).timestamp()
        except (TypeError, ValueError):
            return 0.0


def in_filters(values: Sequence[str]) -> Iterator[list[str]]:
    """The values, no more at a time than EC2 takes."""
    for first in range(0, len(values), MOST_FILTERED):
        yield list(values[first : first + MOST_FILTERED])


def _unanswered(error: Exception) -> Failure:
    """Why there is no answer, and whether there can be a machine: nothing is sent before a connection stands."""
    from botocore import exceptions as sdk

    unsent = (sdk.EndpointConnectionError, sdk.ConnectTimeoutError, sdk.ProxyConnectionError)
    nobody = (
        sdk.NoCredentialsError,
        sdk.PartialCredentialsError,
        sdk.CredentialRetrievalError,
        sdk.TokenRetrievalError,
    )
    said = str(error).rstrip(".")
    if isinstance(error, nobody):
        return Failure("NoCredentials", 0, said)
    if isinstance(error, sdk.ParamValidationError):
        return Failure("InvalidParameter", 400, said)
    return Failure(UNREACHED if isinstance(error, unsent) else type(error).__name__, 0, said)
