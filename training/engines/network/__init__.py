"""The networks that are trained: several of one architecture at once, forward and backward by hand.

A small network's step is dispatch rather than arithmetic: autograd's graph, an optimiser's loop over parameters and a
fresh tensor for each result cost more than the products. Here all parameters of all members are one tensor, each layer
knows its own derivative, and results go where the last ones were. A member is an index along the first dimension of
everything, so that k networks take as many calls as one.
"""
