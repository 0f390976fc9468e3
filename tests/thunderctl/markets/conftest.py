"""Commands about markets, as they are typed."""

import pytest

from thunderctl.cli.main import main


@pytest.fixture
def shown(capsys):
    def run(*arguments: str, code: int = 0):
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        said = capsys.readouterr()
        assert ended.value.code == code, said
        return said

    return run
