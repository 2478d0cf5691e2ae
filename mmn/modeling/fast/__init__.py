from mmn.modeling.fast.conv_stack import FastStack

__all__ = ["FastStack"]
