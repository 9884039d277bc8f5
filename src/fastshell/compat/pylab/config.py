"""ipykernel.pylab.config: moved to matplotlib-inline."""

from __future__ import annotations

import warnings

from matplotlib_inline.config import *  # noqa: F403

warnings.warn(
    "`ipykernel.pylab.config` is deprecated, directly use `matplotlib_inline.config`",
    DeprecationWarning,
    stacklevel=2,
)
