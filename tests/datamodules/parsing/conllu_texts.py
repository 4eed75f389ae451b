"""Sentences in CoNLL-U, as treebanks have them: a multi-word token, an empty node, and one without relations."""

from pathlib import Path

GERMAN = """\
# newdoc id = river
# sent_id = river-1
# text = Sie ging zum Fluß.
1	Sie	sie	PRON	PPER	Case=Nom|Number=Sing	2	nsubj	2:nsubj	_
2	ging	gehen	VERB	VVFIN	Tense=Past	0	root	0:root	_
3-4	zum	_	_	_	_	_	_	_	_
3	zu	zu	ADP	APPR	_	5	case	5:case	_
4	dem	der	DET	ART	Case=Dat	5	det	5:det	_
5	Fluß	Fluß	NOUN	NN	Case=Dat	2	obl	2:obl:zu:dat	SpaceAfter=No
6	.	.	PUNCT	$.	_	2	punct	2:punct	_
"""
ENGLISH = """\
# sent_id = coffee/2
# text = Sue likes coffee and Bill tea
# a comment of no known form
1	Sue	Sue	PROPN	_	_	2	nsubj	_	_
2	likes	like	VERB	_	_	0	root	_	_
3	coffee	coffee	NOUN	_	_	2	obj	_	_
4	and	and	CCONJ	_	_	5	cc	_	_
5	Bill	Bill	PROPN	_	_	2	conj	_	_
5.1	likes	like	VERB	_	_	_	_	2:conj	CopyOf=2
6	tea	tea	NOUN	_	_	5	orphan	_	_
"""
PENN = """\
1	New York	_	NNP	NNP	_	2	_	_	_
2	grew	_	VBD	VBD	_	0	_	_	_
"""
TEXT = f"{GERMAN}\n{ENGLISH}\n{PENN}\n"


def write(path: Path, content: str | bytes) -> Path:
    """The file, once it has been written."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
