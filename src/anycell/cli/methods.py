"""``anycell methods``: what can be trained, and which models are there already."""

from __future__ import annotations

from dataclasses import dataclass

from anycell.cli.screen import Json, show_json, show_table

__all__ = ["Methods"]


@dataclass(frozen=True)
class Methods:
    """List the methods that can be trained, and the models in the package."""

    json: Json = False

    def run(self) -> int:
        """Print both tables."""
        from anycell.methods import METHODS
        from anycell.model import DEFAULT, bundled

        rows = [
            (v.name, v.network or "none", v.representation, v.summary, v.reference)
            for v in METHODS.values()
        ]
        heads = ("method", "network", "representation", "summary", "reference")
        if self.json:
            methods = [dict(zip(heads, row, strict=True)) for row in rows]
            show_json({"methods": methods, "models": bundled(), "default": DEFAULT})
            return 0
        show_table(heads, rows)
        names = [f"{name} (default)" if name == DEFAULT else name for name in bundled()]
        print(f"models in the package: {', '.join(names) or 'none'}")
        return 0
