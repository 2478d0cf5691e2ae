"""Code that exists only to be fast on a processor; nothing here changes a number beyond rounding.

* The convolutions over the proposal map from its valid cells alone, in the place of `MapConv.dense_features`:
  `conv_stack` (begin there), `layer_cells` (which cells), `cell_tiling` (in which tiles), `toom_cook` (with which
  arithmetic), `packed_conv` and `packed_batch_norm` (the layer itself), `conv_cost` (which algorithm, and whether at all),
  `weight_memory` (which layers keep transformed weights in inference).
* The text encoder: `length_groups` (sentences of like length share a forward), `packed_linear` (linear layers on weights in
  the layout that oneDNN multiplies fastest).
* Shared: `onednn` (its private operators in torch), `fingerprint` (whether weights have changed since they were packed).
"""

from mmn.modeling.fast.conv_stack import FastStack

__all__ = ["FastStack"]
