"""From annotation and feature files to batches."""

from mmn.data.loaders import build_test_loader, build_train_loader
from mmn.data.moment_files import build_dataset
from mmn.data.splits import Splits

__all__ = ["Splits", "build_dataset", "build_test_loader", "build_train_loader"]
