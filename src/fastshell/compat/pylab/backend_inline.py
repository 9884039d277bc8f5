"""ipykernel.pylab.backend_inline: moved to matplotlib-inline."""

from __future__ import annotations

import warnings

from matplotlib_inline.backend_inline import *  # noqa: F403

warnings.warn(
    "`ipykernel.pylab.backend_inline` is deprecated, directly use `matplotlib_inline.backend_inline`",
    DeprecationWarning,
    stacklevel=2,
)
