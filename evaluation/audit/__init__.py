"""Which principle of a constitution fires, which one mends, which ones are the same, which contradict each other?

Everything is read from the rows that chains left: `rows` gives them as Arrow tables, `facts` makes one table of every
verdict of them, `estimates` holds the statistics, `principles` and `across` the figures of each principle and between
them, `findings` says in words what is more than chance, `audit` puts the object of `audit.json` together.
"""
