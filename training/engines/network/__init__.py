"""The networks in training: several of one architecture at once, with hand-written forward and backward passes.

A step of a small network is dispatch rather than arithmetic: autograd's graph, the optimiser's loop over parameters and
a new tensor for each result cost more than the matrix products. Here, all parameters of all members are one tensor,
each layer computes its own derivative, and results overwrite the results of the last step. The first dimension of
every tensor is the member, so that k networks take as many calls as one.
"""
