"""Options of ``modelport verify`` that do not go together."""

import click
import pytest

from modelport.cli.verify import command

URL = ("--url", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*URL, "-b", "bentoml"), "--backend would do nothing: a service at --url"),
        ((*URL, "--no-build", "--logs", "-o", "dist"), "--output, --no-build, --logs would do nothing"),
        (("--token", "secret"), "--token would do nothing: a token is for services at --url"),
    ],
)
def test_options_that_would_do_nothing_are_refused(arguments, said):
    with pytest.raises(click.UsageError, match=said):
        command.main(["missing.yaml", *arguments], standalone_mode=False)
