"""Every wheel of a Python x arch x CUDA/torch matrix, from one declarative file."""

__version__ = "0.1.0"

DISTRIBUTION = "wheel-orchestrator"
"""What package indexes call it; `orchestrator` is another project there."""


def extra_hint(extra: str) -> str:
    """Return a hint: the command that installs an extra."""
    return f'pip install "{DISTRIBUTION}[{extra}]"'
