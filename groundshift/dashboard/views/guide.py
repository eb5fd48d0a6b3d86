"""The help page: what the words mean, what the keys do."""

from __future__ import annotations

from typing import Final

import streamlit as st

_REVIEW: Final = """
##### Review an alert in seconds

1. Press **↓**: the first alert of the queue opens, the earlier scene left of the divider, the
   later one right of it.
2. Look: **← →** move the divider, **Space** flips between all before and all after, **1 2 3**
   change the rendering, **H** hides the outlines.
3. Say it: **A** accept, **R** reject, **U** unsure. The next alert opens by itself. **Z** goes
   back.

**D** opens the outline for redrawing. **?** shows every key.

Whoever looks at an alert has it in hand: others see that, and their queue skips it. Whoever draws a
label has its whole tile in hand.
"""
_WORDS: Final = """
##### Words

| word | meaning |
|---|---|
| scene | one acquisition of one sensor over one place |
| before | the newest scene of the baseline that is mostly clear |
| after | the latest scene that shows the change |
| alert | a change followed over time |
| first, provisional, confirmed | seen once; one later scene agrees; two later scenes agree |
| withdrawn | more later scenes spoke against it than for it |
| not observed | nodata, cloud or shadow on either date: nothing is said about that ground |
| area | a polygon that somebody saved, to look at what lies inside |
| tile | a square of 4.48 km: what reviews of its ground add up to is what models learn from |
| ignored | ground that a reviewer vouches for neither way: it is left out of the tile |
| observed | the share of the alert's polygon that both dates show |
| probability | how sure the change classifier is, averaged over the polygon |
"""
_MORE: Final = """
##### Where alerts come from

Announce scenes to the platform, then they appear here by themselves:

```sh
groundshift submit BEFORE.json AFTER.json
```

No scenes at hand? `groundshift demo --open` simulates a site and ends on this map.

##### Links

The address of the Review page holds what you look at: alert, filters, place, rendering, divider.
Send it, and another sees the same. `Evidence pack` of an alert is one file with chips, mask,
observed share, models and STAC Item.
"""


def show() -> None:
    """The whole page."""
    left, right = st.columns(2, gap="large")
    left.markdown(_REVIEW)
    left.markdown(_MORE)
    right.markdown(_WORDS)
