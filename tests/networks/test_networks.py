import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vertseg.core.errors import UserError
from vertseg.networks.blocks import SegmentationHead, moving_mean
from vertseg.networks.depthwise import DepthwiseConv3d
from vertseg.networks.folding import fold_batch_norms
from vertseg.networks.registry import NETWORKS, build_network, count_parameters, limit_context

COUNTS = {
    "mobilenet_aspp": 1_278_749,
    "mobilenet": 277_533,
    "resnet18_aspp": 3_204_845,
    "unet": 5_297_981,
}
MOBILENET_BLOCKS = [
    # in, mid, out, depthwise stride, parameters
    (1, 32, 16, 1, 2_400),
    (16, 96, 24, 1, 6_864),
    (24, 144, 24, 1, 11_424),
    (24, 144, 32, 1, 12_592),
    (32, 192, 32, 1, 18_304),
    (32, 192, 32, 2, 18_304),
    (32, 192, 64, 1, 24_512),
    (64, 384, 64, 1, 61_184),
]


def built(name: str, **options) -> nn.Module:
    """A network with the paper's rates, if it has ASPP."""
    rates = {"aspp_rates": [2, 4, 8, 16]} if name.endswith("aspp") else {}
    return build_network(name, **rates, **options)


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameter_counts(name: str, count: int) -> None:
    assert set(COUNTS) == set(NETWORKS)
    assert count_parameters(built(name)) == count


def test_the_layer_table_of_mobilenet_aspp() -> None:
    network = built("mobilenet_aspp")
    blocks = [network.stem, *network.body]
    for block, (channels, mid, out, stride, count) in zip(blocks, MOBILENET_BLOCKS, strict=True):
        expand, depthwise, project = (
            part for part in block.modules() if isinstance(part, nn.Conv3d)
        )
        assert (expand.in_channels, expand.out_channels, project.out_channels) == (
            channels,
            mid,
            out,
        )
        assert depthwise.groups == mid and depthwise.stride == (stride,) * 3
        assert all(part.bias is None for part in (expand, depthwise, project))
        assert count_parameters(block) == count
    assert count_parameters(network.context) == 1_001_216
    assert count_parameters(network.head) == 121_949
    image = torch.zeros(2, 1, 32, 32, 32)
    skip = network.stem(image)
    assert skip.shape == (2, 16, 16, 16, 16)
    assert network.body(skip).shape == (2, 64, 8, 8, 8)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("size", [(16, 16, 16), (16, 24, 40), (17, 19, 22)])
def test_logits_have_the_size_of_the_image(name: str, size: tuple[int, int, int]) -> None:
    network = built(name).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, *size)).shape == (1, 29, *size)


def test_unknown_networks_and_options_are_refused() -> None:
    with pytest.raises(UserError, match="mobilenet_aspp"):
        build_network("mobilnet")
    with pytest.raises(UserError, match="aspp_rates"):
        build_network("unet", aspp_rates=[1, 2, 3, 4])


def test_training_on_a_batch_of_one_is_explained() -> None:
    with pytest.raises(UserError, match="batch_size"):
        built("mobilenet_aspp").train()(torch.zeros(1, 1, 16, 16, 16))


@pytest.mark.parametrize("name", COUNTS)
def test_checkpointing_changes_memory_only(name: str) -> None:
    image = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    states, gradients = [], []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = built(name, checkpointing=checkpointing).train()
        torch.manual_seed(1)
        network(image).square().mean().backward()
        states.append(network.state_dict())
        gradients.append({key: p.grad for key, p in network.named_parameters()})
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value)
    for key, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_gradients_are_those_of_pytorch(stride: int) -> None:
    torch.manual_seed(0)
    ours = DepthwiseConv3d(16, stride).double()
    plain = nn.Conv3d(16, 16, 3, stride, padding=1, groups=16, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 16, 6, 7, 8, dtype=torch.float64)
    results = []
    for layer in (ours, plain):
        own = x.clone().requires_grad_()
        y = layer(own)
        y.mul(torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)).sum().backward()
        results.append((y.detach(), own.grad, layer.weight.grad))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("size", [(2, 2, 4), (4, 4, 8)])
def test_depthwise_gradients_in_bfloat16_are_close(size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv3d(192)
    x = torch.randn(4, 192, *size).to(memory_format=torch.channels_last_3d)
    gradients = []
    for enabled in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = layer(x)
        y.float().square().sum().backward()
        gradients.append(layer.weight.grad.clone())
    scale = gradients[0].abs().max()
    assert (gradients[1] - gradients[0]).abs().max() < 0.02 * scale


def test_the_moving_mean_is_that_of_the_window_around_each_voxel() -> None:
    features = torch.randn(1, 2, 7, 8, 11, generator=torch.Generator().manual_seed(0))
    for window in ((3, 4, 5), (1, 8, 6), (7, 8, 11)):
        means = moving_mean(features, window)
        assert means.shape == features.shape
        for voxel in np.ndindex(7, 8, 11):
            corner = [
                min(max(at - (width - 1) // 2, 0), size - width)
                for at, width, size in zip(voxel, window, (7, 8, 11), strict=True)
            ]
            x, y, z = (slice(a, a + width) for a, width in zip(corner, window, strict=True))
            expected = features[0, :, x, y, z].mean((1, 2, 3))
            torch.testing.assert_close(means[0, :, *voxel], expected, atol=1e-5, rtol=1e-5)


def test_a_network_sees_a_crop_as_in_training_and_no_more_of_a_larger_scan() -> None:
    network = build_network("mobilenet_aspp", aspp_rates=[1, 1, 1, 1]).eval()
    crop = torch.randn(1, 1, 16, 16, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(crop)
        limit_context(network, (16, 16, 32))
        torch.testing.assert_close(network(crop), expected)
        scan = torch.cat([crop, torch.zeros(1, 1, 16, 16, 128)], dim=-1)
        elsewhere = scan.clone()
        elsewhere[..., 150:] = 1
        torch.testing.assert_close(network(scan)[..., :64], network(elsewhere)[..., :64])


@pytest.mark.parametrize("training", [True, False])
def test_the_head_convolves_context_and_skip_together(training: bool) -> None:
    torch.manual_seed(0)
    head = SegmentationHead(num_classes=5).train(training)
    context, skip = torch.randn(2, 128, 3, 4, 5), torch.randn(2, 16, 6, 7, 9)
    together = torch.cat([F.interpolate(context, (6, 7, 9)), skip], 1)
    expected = F.interpolate(head.layers(together), (11, 13, 17), mode="trilinear")
    torch.testing.assert_close(head(context, skip, (11, 13, 17)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", COUNTS)
def test_folding_changes_no_logits(name: str) -> None:
    torch.manual_seed(0)
    network = built(name, num_classes=5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, 0, 0.1)
    network.eval()
    image = torch.randn(1, 1, 16, 20, 24)
    with torch.inference_mode():
        expected = network(image)
        fold_batch_norms(network)
        torch.testing.assert_close(network(image), expected, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in network.modules())
