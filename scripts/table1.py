"""Write Table 1, or that of the external test, and the table of labels.

Reads the evaluation's CSVs of all methods and folds and the headers of the weights files; writes
Table 1 as CSV (everything), Markdown, LaTeX and HTML (compact), and per_label.csv.
"""

from collections.abc import Sequence

from vertseg.core.files import write_text
from vertseg.core.logs import step_log
from vertseg.evaluation.files import Methods, read_evaluation, read_training_metadata, write_csv
from vertseg.evaluation.formats import note, to_html, to_latex, to_markdown
from vertseg.evaluation.tables import per_label_table, table1


def main(
    scans: Sequence[str],
    labels: Sequence[str],
    weights: Sequence[str],
    methods: Methods,
    reference_method: str,
    seed: int,
    excluded: Sequence[str],
    title: str,
    targets: dict[str, str],
) -> None:
    """Summarise all methods."""
    evaluated = read_evaluation(scans)
    below = note(evaluated, excluded)
    table = table1(evaluated, read_training_metadata(weights), methods, reference_method, seed)
    write_csv(table, targets["csv"])
    write_text(targets["markdown"], to_markdown(table, below))
    write_text(targets["latex"], to_latex(table, below))
    write_text(targets["html"], to_html(table, title, below))
    write_csv(per_label_table(read_evaluation(labels), methods), targets["per_label"])


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            snakemake.input.scans,
            snakemake.input.labels,
            snakemake.input.weights,
            snakemake.params.methods,
            snakemake.params.reference_method,
            snakemake.params.seed,
            snakemake.params.excluded,
            snakemake.params.title,
            dict(snakemake.output.items()),
        )
