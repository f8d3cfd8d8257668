"""A search for settings: trials vary settings, the validation part ranks the trials, and the winner is tested once.

In a notebook:

    from training.search import search
    result = search("flowers.csv", target="species", trials=30)
    result.winner.settings                   # what won
    result.publish("checkpoints")            # flowers@1
"""

from training.search.trials.run import search, search_table

__all__ = ["search", "search_table"]
