"""C3D (Tran et al., 2015), the network behind the features of TACoS and ActivityNet Captions."""

from torch import Tensor, nn
from torch.nn import functional as F

from mmn.apps.extraction.backbone_weights import Weights, seeded
from mmn.apps.extraction.backbones.backbone import BACKBONES, Backbone, load_file
from mmn.apps.extraction.frame_transform import FrameTransform
from mmn.apps.extraction.usual_sampling import USUAL
from mmn.utils.errors import CheckpointError

# Blue, green and red means of Sports-1M frames on the scale to 255. The original subtracts a mean picture for every
# place in a clip instead, which is nearly of one colour.
BGR_MEAN = (90.0, 98.0, 102.0)


class C3D(nn.Module):
    """Clips [B, 3, 16, 112, 112] -> [B, 4096]: eight 3x3x3 convolutions, five poolings, fully connected layers.

    Weights have the names of the usual conversions of the Sports-1M model: conv1, conv2, conv3a, ..., conv5b, fc6, fc7.

    Args:
        layer: "fc6" or "fc7", taken after its ReLU.
    """

    def __init__(self, layer: str):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 3, padding=1)
        self.conv2 = nn.Conv3d(64, 128, 3, padding=1)
        self.conv3a = nn.Conv3d(128, 256, 3, padding=1)
        self.conv3b = nn.Conv3d(256, 256, 3, padding=1)
        self.conv4a = nn.Conv3d(256, 512, 3, padding=1)
        self.conv4b = nn.Conv3d(512, 512, 3, padding=1)
        self.conv5a = nn.Conv3d(512, 512, 3, padding=1)
        self.conv5b = nn.Conv3d(512, 512, 3, padding=1)
        self.fc6 = nn.Linear(8192, 4096)
        self.fc7 = nn.Linear(4096, 4096) if layer == "fc7" else None

    def forward(self, clips: Tensor) -> Tensor:
        maps = F.max_pool3d(F.relu(self.conv1(clips)), (1, 2, 2))  # [B, 64, 16, 56, 56]
        maps = F.max_pool3d(F.relu(self.conv2(maps)), 2)  # [B, 128, 8, 28, 28]
        maps = F.max_pool3d(F.relu(self.conv3b(F.relu(self.conv3a(maps)))), 2)  # [B, 256, 4, 14, 14]
        maps = F.max_pool3d(F.relu(self.conv4b(F.relu(self.conv4a(maps)))), 2)  # [B, 512, 2, 7, 7]
        # Caffe rounds the size of a pooled map up: the last window hangs over the edge.
        maps = F.max_pool3d(F.relu(self.conv5b(F.relu(self.conv5a(maps)))), 2, ceil_mode=True)  # [B, 512, 1, 4, 4]
        rows = F.relu(self.fc6(maps.flatten(1)))
        return rows if self.fc7 is None else F.relu(self.fc7(rows))


@BACKBONES.register("c3d")
class C3DBackbone(Backbone):
    """Weights: a file with the state dict of the Sports-1M model; there is no place to fetch it from by name."""

    usual = USUAL["c3d"]
    takes_clips = True
    fixed_clip_length = 16
    dim = 4096

    def __init__(self, weights: Weights, layer: str):
        super().__init__(weights, layer)
        if weights.seed is not None:
            self.model = seeded(weights.seed, lambda: C3D(layer))
        elif weights.is_path:
            self.model = C3D(layer)
            unused = ("fc7.", "fc8.") if layer == "fc6" else ("fc8.",)
            load_file(self.model, weights.text, unused, "a file with the state dict of C3D on Sports-1M")
        else:
            raise CheckpointError(f"the C3D weights {weights.text} do not exist: give the path of their file")
        mean = tuple(value / 255 for value in BGR_MEAN)
        self.transform = FrameTransform((128, 171), (112, 112), "bilinear", mean, (1 / 255,) * 3, channels="BGR")

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)
