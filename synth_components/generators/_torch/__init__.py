"""What torch generators share.  Torch is imported in this folder and nowhere else; no public generator lives here."""

from __future__ import annotations

from synth_components.errors import UnsupportedError


def require_torch(name: str) -> None:
    """Return if torch is installed.

    Raises:
        UnsupportedError: naming the extra.
    """
    try:
        import torch  # noqa: F401 - whether it can be imported is the question
    except ModuleNotFoundError:
        raise UnsupportedError(
            f"generator '{name}' is fitted with torch, which is not installed; pip install 'synth-components[torch]'"
        ) from None
