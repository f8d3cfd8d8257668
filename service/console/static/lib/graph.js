// Reverse-mode differentiation over a graph of small operations, and the graph of a 2-2-1 network.

const sum = (values) => values.reduce((total, value) => total + value, 0);

// By operation: the value from the operands, and the derivatives with respect to each operand.
const OPERATIONS = {
  product: { of: ([a, b]) => a * b, by: (_, [a, b]) => [b, a], text: (a, b) => `${a}·${b}` },
  sum: { of: sum, by: (_, operands) => operands.map(() => 1), text: (...names) => names.join(' + ') },
  tanh: { of: ([a]) => Math.tanh(a), by: (value) => [1 - value * value], text: (a) => `tanh(${a})` },
  sigmoid: { of: ([a]) => 1 / (1 + Math.exp(-a)), by: (value) => [value * (1 - value)], text: (a) => `σ(${a})` },
  loss: {
    of: ([p, y]) => -(y * Math.log(p) + (1 - y) * Math.log(1 - p)),
    by: (_, [p, y]) => [(p - y) / (p * (1 - p)), Math.log(1 - p) - Math.log(p)],
    text: (p, y) => `−${y}·ln ${p} − (1 − ${y})·ln(1 − ${p})`,
  },
};

// The nodes that are computed, operands before results: name, operation, operands.
const NETWORK = [
  ...[1, 2].flatMap((unit) => [
    [`p${unit}1`, 'product', [`w${unit}1`, 'x1']], [`p${unit}2`, 'product', [`w${unit}2`, 'x2']],
    [`z${unit}`, 'sum', [`p${unit}1`, `p${unit}2`, `b${unit}`]], [`h${unit}`, 'tanh', [`z${unit}`]],
    [`q${unit}`, 'product', [`v${unit}`, `h${unit}`]],
  ]),
  ['o', 'sum', ['q1', 'q2', 'c']], ['p', 'sigmoid', ['o']], ['L', 'loss', ['p', 'y']],
];

/** Names of the learned numbers of the network. */
export const PARAMETERS = ['w11', 'w12', 'b1', 'w21', 'w22', 'b2', 'v1', 'v2', 'c'];

/** Weights with which the network answers three of the four rows of XOR, so that it has something to learn. */
export const FIRST_WEIGHTS = { w11: 1.2, w12: 0.9, b1: -0.3, w21: 0.8, w22: 1.1, b2: -1.4, v1: 1.5, v2: -1.2, c: -0.8 };

/** Computes a graph forward and backward. Returns the nodes by name: operands, value, gradient, derivatives, text. */
export function differentiate(inputs, steps) {
  const nodes = new Map(Object.entries(inputs).map(([name, value]) => [name, { name, operands: [], value, gradient: 0, text: '' }]));
  for (const [name, operation, operands] of steps) {
    const { of, text } = OPERATIONS[operation];
    const value = of(operands.map((operand) => nodes.get(operand).value));
    nodes.set(name, { name, operation, operands, value, gradient: 0, text: text(...operands) });
  }
  const computed = steps.map(([name]) => nodes.get(name)).reverse();
  computed[0].gradient = 1;
  for (const node of computed) {
    const { operation, operands, value, gradient } = node;
    node.derivatives = OPERATIONS[operation].by(value, operands.map((operand) => nodes.get(operand).value));
    operands.forEach((operand, at) => { nodes.get(operand).gradient += gradient * node.derivatives[at]; });
  }
  return nodes;
}

/** Computes the cross-entropy of the 2-2-1 network on one row, and the gradient at each node. */
export const network = (weights, [x1, x2], y) => differentiate({ x1, x2, y, ...weights }, NETWORK);

/** Returns the weights after a step of gradient descent on some rows `[[x1, x2], y]`, by their mean gradient. */
export function step(weights, rows, rate) {
  const graphs = rows.map(([x, y]) => network(weights, x, y));
  return Object.fromEntries(PARAMETERS.map((name) =>
    [name, weights[name] - (rate / rows.length) * sum(graphs.map((nodes) => nodes.get(name).gradient))]));
}
