"""Write Table 1, or that of the external test, and the table of labels.

Reads the evaluation's CSVs of all methods and folds and the headers of the weights files; writes
Table 1 as CSV (everything), Markdown, LaTeX and HTML (compact), and per_label.csv.
"""

from vertseg.core.files import write_text
from vertseg.core.logs import step_log
from vertseg.evaluation.files import read_evaluation, read_training_metadata, write_csv
from vertseg.evaluation.formats import note, to_html, to_latex, to_markdown
from vertseg.evaluation.tables import per_label_table, table1

with step_log(snakemake.log[0]):
    scans = read_evaluation(snakemake.input.scans)
    labels = read_evaluation(snakemake.input.labels)
    trainings = read_training_metadata(snakemake.input.weights)
    methods = snakemake.params.methods

    table = table1(
        scans, trainings, methods, snakemake.params.reference_method, snakemake.params.seed
    )
    below = note(scans, snakemake.params.excluded)
    write_csv(table, snakemake.output.csv)
    write_text(snakemake.output.markdown, to_markdown(table, below))
    write_text(snakemake.output.latex, to_latex(table, below))
    write_text(snakemake.output.html, to_html(table, snakemake.params.title, below))
    write_csv(per_label_table(labels, methods), snakemake.output.per_label)
