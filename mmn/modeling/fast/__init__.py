"""Code that exists only to be fast on a processor; nothing here changes a number beyond rounding.

* The convolutions over the proposal map from its valid cells alone, in the place of `MapConv.dense_features`:
  `conv_stack` (begin there), `layer_cells` (which cells), `cell_tiling` (in which tiles), `toom_cook` (with which
  arithmetic), `packed_conv` and `packed_batch_norm` (the layer itself), `product_chunks` (how much of it at a time),
  `transformed_weights` (the weights in it), `conv_cost` (which algorithm, and whether at all), `weight_memory` (what
  inference keeps).
* The text encoder: `sentence_memo` (sentences that come again), `sentence_rows` (sentences share rows in inference),
  `length_groups` (in training, and for encoders that cannot: those of like length share a forward), `packed_linear`
  (queries by weights in the layout that oneDNN multiplies fastest).
* Shared: `onednn` (its private operators in torch), `fingerprint` (whether weights have changed since they were packed).
"""

from mmn.modeling.fast.conv_stack import FastStack

__all__ = ["FastStack"]
