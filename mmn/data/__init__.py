"""From annotation and feature files to batches."""

from mmn.data.loaders import build_dataset, build_test_loader, build_train_loader

__all__ = ["build_dataset", "build_test_loader", "build_train_loader"]
