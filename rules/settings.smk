"""The workflow's own folder, and the configuration: config.yaml there, with yours laid over it.

Paths in your configuration are relative to the folder that Snakemake runs in; what belongs to the
workflow is found beside its Snakefile, wherever it is started from or used as a module.
"""

import sys
import tarfile
import tempfile
from os import environ, pathsep

from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config


def workflow_folder(rules):
    """The workflow's folder, given that of its rules.

    Snakemake fetches a hosted workflow file by file; steps need all of it, so the commit is
    unpacked below .snakemake/.
    """
    if rules.is_local:
        return Path(str(rules)).parent.resolve()
    repository = rules.hosted_repo.repo
    commit = repository.commit(rules.ref).hexsha
    folder = Path(".snakemake/vertseg", commit).absolute()
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            archive, copy = Path(temporary, "commit.tar"), Path(temporary, "copy")
            repository.git.archive(commit, output=str(archive))
            with tarfile.open(archive) as opened:
                opened.extractall(copy, filter="data")
            try:
                copy.rename(folder)
            except OSError:  # Another process was faster.
                if not folder.is_dir():
                    raise
    return folder


# Not workflow.basedir: in a module that is the folder of the workflow around it.
BASE = workflow_folder(workflow.current_basedir)

# In front of an installed vertseg, here and in the steps.
if str(BASE) not in sys.path:
    sys.path.insert(0, str(BASE))
if str(BASE) not in environ.get("PYTHONPATH", "").split(pathsep):
    environ["PYTHONPATH"] = pathsep.join(
        filter(None, [str(BASE), environ.get("PYTHONPATH")])
    )

stated, config = config, load_configfile(BASE / "config.yaml")
update_config(config, stated)
