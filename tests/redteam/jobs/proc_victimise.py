"""Let the kernel choose another process, not us, when memory runs out."""

from kit import tell


def run(inputs, outputs):
    def choose():
        with open(f"/proc/{inputs.arguments['pid']}/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
        return "another process dies first"

    tell(outputs, choose)
