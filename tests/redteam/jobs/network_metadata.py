"""Ask for the machine's own credentials, as scripts in clouds do."""

import urllib.error
import urllib.request

from kit import tell


def run(inputs, outputs):
    def ask():
        path = "/latest/meta-data/iam/security-credentials/role"
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{inputs.arguments['port']}{path}", timeout=5
            ) as answer:
                return "read the machine's credentials", answer.read(200).decode()
        except urllib.error.URLError as error:
            raise error.reason from None

    tell(outputs, ask)
