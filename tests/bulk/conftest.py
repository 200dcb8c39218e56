"""The command line in this process, as the tests of the commands have it."""

from tests.app.conftest import cli as cli
