"""Audio-visual representation learning in JAX and Flax."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avjax.inference.model import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Imports `load` when it is first used, so that `import avjax` imports no library."""
    if name == "load":
        from avjax.inference.model import load

        return load
    raise AttributeError(f"module 'avjax' has no attribute {name!r}")
