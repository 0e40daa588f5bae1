"""One module a command: HELP, EXAMPLES, `add_arguments(parser)`, `run(args) -> exit code`; its docstring is help."""

COMMANDS = (
    "init",
    "provision",
    "registry",
    "collect",
    "console",
    "pull",
    "stations",
    "records",
    "refusals",
    "show",
    "export",
    "import",
    "resume",
    "verify",
    "quiet",
    "forward",
    "config",
    "doctor",
    "update",
    "harden",
)
