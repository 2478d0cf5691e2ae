from mmn.modeling.fast_conv.stack import FastStack

__all__ = ["FastStack"]
