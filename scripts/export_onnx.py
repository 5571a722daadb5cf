"""Export a trained network for machines without PyTorch, and check that it gives the same answers.

Reads its weights (safetensors); writes the ONNX model.
"""

from vertseg.core.errors import UserError
from vertseg.core.logs import logger, step_log
from vertseg.segmentation.export import export_onnx, largest_difference

TOLERANCE = 1e-3

with step_log(snakemake.log[0]):
    weights, model = snakemake.input[0], snakemake.output[0]
    export_onnx(weights, model)
    difference = largest_difference(weights, model)
    if difference > TOLERANCE:
        raise UserError(
            f"{model}: its logits differ by {difference:.2g} from those of {weights}. Use the "
            "versions of torch, onnx, onnxscript and onnxruntime that requirements.txt pins."
        )
    logger.info("%s: logits differ by %.2g at most from those of %s", model, difference, weights)
