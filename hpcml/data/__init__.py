"""Tables: reading them, taking the target out, and turning every column into numbers.

`read_table` reads CSV and Parquet, `split_target` takes the target column out and says in one line what is
wrong with it, `TableEncoder` turns a raw table into the matrix that estimators take. The encoder never looks
at the target, so fitting it on a whole table before cross-validation tells the training rows nothing about
the test rows but the names and frequencies of their categories.

Examples
--------
>>> import pandas as pd
>>> from hpcml.data import TableEncoder
>>> rooms = pd.DataFrame({"beds": [1, 2, 2], "superhost": ["t", "f", "t"], "type": ["flat", "house", "loft"]})
>>> encoder = TableEncoder().fit(rooms)
>>> for sentence in encoder.describe():
...     print(sentence)
beds: number, as it is
superhost: f, t -> 0, 1
type: 3 categories -> one 0/1 column each (flat, house, loft)
>>> encoder.transform(rooms)
array([[1., 1., 1., 0., 0.],
       [2., 0., 0., 1., 0.],
       [2., 1., 0., 0., 1.]])
"""

from hpcml.data.encoder import TableEncoder
from hpcml.data.tables import bundled_table, near_misses, read_table, split_target

__all__ = ["TableEncoder", "bundled_table", "near_misses", "read_table", "split_target"]
