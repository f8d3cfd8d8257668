"""Explanations of the studies: a few sentences on the reason for each result, for somebody who sees the plot.

docs/studies.md says more, and has the sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

EXPLANATIONS: Mapping[str, str] = MappingProxyType(
    {
        "neuron": (
            "A neuron receives signals, weighs them, adds them up, and answers when the sum passes a threshold. One "
            "threshold divides the inputs by one straight cut. The more bits there are, the smaller is the share of "
            "all functions that one cut can compute: hidden layers are for the rest."
        ),
        "perceptron": (
            "The bound on the mistakes of the rule depends on the gap between the classes and on the length of the "
            "longest row, not on the number of rows. XOR has no gap: the weights return to an earlier value, and what "
            "follows repeats for ever."
        ),
        "xor": (
            "A perceptron cuts the plane in two by a line, and no line has (0, 1) and (1, 0) on one side and (0, 0) "
            "and (1, 1) on the other. Four hidden units bend the border. For some steps little happens, because the "
            "units are too similar; then they become different, and all four rows are right."
        ),
        "graph": (
            "A loss is a chain of small operations. Forward, each node computes its value from its operands. Backward, "
            "each node multiplies the gradient that it received by its own derivative, and passes the product on. One "
            "pass backward gives all gradients; finite differences need two passes forward for each parameter."
        ),
        "equivalence": (
            "The gradients of one network are written out by hand with the chain rule, those of the other come from "
            "PyTorch's automatic differentiation. Both start from the same weights and take the same steps. The "
            "differences that remain come from rounding in another order."
        ),
        "parameters": (
            "Weights and biases are parameters: training computes them from the rows. Width, depth, learning rate and "
            "seed are hyperparameters: somebody chose them. The number of parameters follows from the widths, "
            "Σ (n_in + 1)·n_out over the layers, and can be counted before training."
        ),
        "clusters": (
            "Straight lines are the best borders between round clouds of one size, so a linear model is as good as any "
            "there. The best border between a narrow cloud and a wide one around it is a ring, which no linear model "
            "has. The densities are known, so Bayes' rule gives the best accuracy that any model could have."
        ),
        "linear": (
            "A product of matrices is a matrix. Without a nonlinear function between them, sixteen layers compute what "
            "one computes, and Axon serves them as one where that is cheaper. With ReLU between the layers none can be "
            "merged."
        ),
        "approximation": (
            "A wide enough layer follows any continuous curve. Here it joins points of the curve by straight lines, so "
            "each doubling of the width divides the error by four, once the lines are short compared with the waves. "
            "Training finds smaller greatest errors at some widths and larger ones at others, without a guarantee."
        ),
        "universal": (
            "The theorem says that some wide layer exists. It does not say how wide the layer is, whether gradient "
            "descent finds its weights (slow waves are learned long before fast ones), or what the network answers "
            "between the rows: a network that meets noisy rows exactly keeps most of the noise."
        ),
        "depth": (
            "Over the number of ones, parity is a zigzag. One layer needs a unit for each turn of it. Two units can "
            "fold the number line in half, and a fold of a fold has twice as many turns. AND and OR gates show the "
            "difference of the textbooks, O(2ⁿ) against O(n), because an AND that leaves a bit out is wrong somewhere."
        ),
        "composition": (
            "What one layer adds, the next one multiplies: a fold maps both halves of an interval onto the whole, so "
            "each piece of the following function appears twice. And a part that was learned once can be used again: "
            "a network that has seen the four rows of XOR computes the parity of sixteen bits."
        ),
        "initialisation": (
            "Each layer of width n multiplies the variance of a signal by about nσ², and ReLU halves it. After thirty "
            "layers a factor of one half has become a billionth. With ReLU, He's weights keep the variance. With tanh, "
            "the variance of Xavier's weights falls only as one over the depth, and that of He's even less."
        ),
        "width-depth": (
            "Too few units in a layer lose what later layers would need, and more layers do not bring it back. From "
            "enough units on, neither more width nor more depth helps much on this table. One row takes the time to "
            "call the layers, and many rows take the time of their arithmetic."
        ),
    }
)
