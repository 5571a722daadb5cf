"""Export a trained network for machines without PyTorch, and check that it gives the same answers.

Reads its weights (safetensors); writes the ONNX model.
"""

from vertseg.core.errors import UserError
from vertseg.core.logs import logger, step_log
from vertseg.segmentation.export import export_onnx, largest_difference

TOLERANCE = 1e-3


def main(weights: str, target: str) -> None:
    """Write the model.

    Raises:
        UserError: its logits differ from the network's.
    """
    export_onnx(weights, target)
    apart = largest_difference(weights, target)
    if apart > TOLERANCE:
        raise UserError(
            f"{target}: its logits differ by {apart:.2g} from those of {weights}. Use the versions "
            "of torch, onnx, onnxscript and onnxruntime that requirements.txt pins."
        )
    logger.info("%s: logits differ by %.2g at most from those of %s", target, apart, weights)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(snakemake.input[0], snakemake.output[0])
