"""What torch generators share.  Torch is imported in this folder and nowhere else; no public generator lives here."""

from __future__ import annotations

import importlib
import pkgutil

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


def load_all() -> None:
    """Import all modules of this folder, and what torch imports at a first step of training."""
    import torch

    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    # An optimizer imports torch._dynamo, some two thousand modules, when the first one is made.
    weight = torch.zeros(1, requires_grad=True)
    weight.square().sum().backward()  # type: ignore[no-untyped-call, unused-ignore]
    torch.optim.AdamW([weight]).step()
