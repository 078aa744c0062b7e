"""Which principle of a constitution fires, which one mends, which ones are the same, which contradict each other?

Everything is read from the rows that chains left. `rows` gives them as Arrow tables, `facts` makes one table of every
verdict of them (with what `texts` tells without a model), `counts` counts it; `estimates` and `association` hold the
statistics, `figures` and `across` what is told of each principle and between them; `findings` says what is more than
chance, `words` says it in sentences, and `audit` puts the object of `audit.json` together.
"""
