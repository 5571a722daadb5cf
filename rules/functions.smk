"""Functions of the rules: their inputs, params and resources."""

import hashlib
from functools import cache

from vertseg.core.code_version import code_version
from vertseg.core.files import ends_sha256
from vertseg.predict.earlier import source_state
from vertseg.segmentation.settings import SHIPPED_FILES

# Kinds of a scan's files that predictions are compared with.
REFERENCES = ("mask", "centroids", "labels")

# Modules that read lists of scans: the lists are inputs of the steps that read them.
LISTS = ["dataset.folds", "dataset.samples"]

# Each is written as a whole by one step. Other scans are the user's, who may replace any of them.
SCAN_FOLDERS = [PHANTOMS] if config["data"]["source"] == "phantom" else SPLIT_FOLDERS


def code(script, without=()):
    """The fingerprint of a script and of the modules it imports, but for some of them."""
    return code_version(BASE / "scripts" / script, without)


def one_of(names):
    """A wildcard's constraint: one of some names, or nothing at all if there are none."""
    return "|".join(names) or "(?!)"


@cache
def files_of(path):
    """The files that a path stands for: a folder of masks for one of each vertebra.

    The folder's date does not change where a file in it does.
    """
    return sorted(map(str, Path(path).glob("vertebrae_*.nii.gz"))) or [path]


def scan_files(scans, *kinds):
    """Files of scans, of some kinds ("ct", "mask", ...), as a step's inputs.

    Where a step writes all scans of a folder, the folder stands for them.
    """
    inputs = []
    for sample in (SAMPLES[scan] for scan in scans):
        within = [one for one in SCAN_FOLDERS if sample.ct.startswith(f"{one}/")]
        paths = filter(None, (getattr(sample, kind) for kind in kinds))
        inputs += within or [file for path in paths for file in files_of(path)]
    return list(dict.fromkeys(inputs))


def scans_state(scans, *kinds):
    """`files_state` of the files of scans, of some kinds."""
    return files_state(scan_files(scans, *kinds))


def files_state(files):
    """Checksum of the sizes and ends of the user's own files, as a param.

    Snakemake asks whether inputs are younger than outputs, and a file that was moved into
    another's place may be older. It compares no param whose function takes the input.
    """
    own = [file_state(str(file)) for file in files if file not in SCAN_FOLDERS]
    return hashlib.sha256(" ".join(own).encode()).hexdigest()[:12]


@cache
def file_state(path):
    """Checksum of a file's size and ends; empty if it cannot be read."""
    try:
        return ends_sha256(path)
    except OSError:
        return ""


def sample_path(kind):
    """The path of a kind ("ct", "mask" or "labels") of the job's scan, as a param."""
    return lambda wildcards: getattr(SAMPLES[wildcards.scan], kind)


def own_scan_state(wildcards):
    """Checksum of the names, sizes and dates of a scan's files, as a param.

    Of a path that stands for several files, a DICOM folder say, Snakemake sees the date alone.
    """
    return source_state(OWN_SCANS[wildcards.scan], RESULTS)


def preprocessed(scans):
    """Path of each scan's CT and mask, and of its label scheme, as a param."""
    samples = [SAMPLES[scan] for scan in scans]
    return [(sample.ct, sample.mask, sample.labels) for sample in samples]


def caches(scans, grid=config["grid"]):
    """Where scans lie on a grid, that of the evaluation or a method's own."""
    return expand(
        f"{RESULTS}/cache/{{grid}}/{{scan}}.safetensors",
        grid=grid_name(grid),
        scan=scans,
    )


def method_caches(scans):
    """Where scans lie on the grid of the job's method."""
    return lambda wildcards: caches(scans, method_grid(config, wildcards.method))


def training_caches(wildcards):
    """Where the scans of the job's method lie, after a check that it can be trained on them.

    Snakemake calls this while it plans: before preprocessing, and only if there is a training.
    """
    check_training(config, wildcards.method, subject_of)
    return method_caches(DEVELOPMENT_SCANS)(wildcards)


def initial_weights(wildcards):
    """Trained network that the job's method goes on from, as a list of none or one."""
    return list(
        filter(
            None, [training_settings(config, wildcards.method).get("initial_weights")]
        )
    )


def method_cts(scans):
    """CTs that show the outlines of the job's method; none if its network draws them."""
    return lambda wildcards: (
        scan_files(scans, "ct") if METHODS[wildcards.method]["outlines"] == "ct" else []
    )


def measured_masks(wildcards):
    """Folders of the predicted masks to measure; none for the reference masks."""
    if wildcards.masks == "reference":
        return []
    return expand(f"{RESULTS}/predictions/{wildcards.masks}/fold{{fold}}", fold=FOLDS)


def side_by_side(most):
    """Threads of the steps that every method and fold has, up to so many.

    On a machine's own processors two such steps run at a time, each on half of the cores: that
    takes less time than one after the other, each on all.
    """
    cores = workflow.resource_settings.cores
    shared = cores and workflow.local_exec and not workflow.remote_exec
    if config["gpus"] or not shared or len(METHODS) * len(FOLDS) == 1:
        return most
    return max(min(cores // 2, most), 1)


def every_run(pattern, methods=METHODS):
    """A path of every method and fold of this run."""
    return expand(pattern, method=methods, fold=FOLDS)


def by_attempt(amount):
    """A resource that grows when a failed job is tried again: the amount times the attempt."""
    return lambda wildcards, attempt: amount * attempt


def in_report(path, category, title):
    """A file shown in the workflow's report, with the caption captions/{its name}.rst."""
    return report(
        path,
        caption=f"../captions/{Path(path).stem}.rst",
        category=category,
        labels={"content": title},
    )


def run_inputs(wildcards):
    """Files and folders that a run reads and none of its steps writes."""
    if OWN_SCANS:
        model = PREDICT.get("model")
        return [*OWN_SCANS.values(), *([model] if model else SHIPPED_FILES.values())]
    weights = [
        training_settings(config, method).get("initial_weights")
        for method in OWN_METHODS
    ]
    if config["data"]["source"] == "phantom":
        return list(filter(None, weights))
    kinds = ("ct", "mask", "centroids", "labels")
    scans = [getattr(sample, kind) for sample in SAMPLES.values() for kind in kinds]
    return list(dict.fromkeys(filter(None, [*weights, *scans])))


def run_outputs(wildcards):
    """Results of a run but for logs and caches; of own scans, the outcomes name the others."""
    if OWN_SCANS:
        return [f"{RESULTS}/{REPORT_NAME}"]
    return [
        *STUDY,
        *(f"{RESULTS}/{name}.tsv" for name in ("samples", "folds", "audit")),
        *every_run(f"{RESULTS}/predictions/{{method}}/fold{{fold}}"),
        *every_run(f"{RESULTS}/evaluation/{{method}}/fold{{fold}}_scans.csv"),
        *every_run(f"{RESULTS}/evaluation/{{method}}/fold{{fold}}_labels.csv"),
        *every_run(
            f"{RESULTS}/models/{{method}}/fold{{fold}}/weights.safetensors", OWN_METHODS
        ),
    ]
