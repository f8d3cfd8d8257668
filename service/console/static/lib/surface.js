// The answers of a model over the plane of two columns, as points to ask about and as colours.

/** Number of colours of classes. */
export const COLOURS = 8;

const CELLS = 400_000; // of a request; a wide model gets fewer points

/** Returns the number of points along each side for a model with some columns. */
export const sideFor = (columns) => Math.max(12, Math.min(64, Math.floor(Math.sqrt(CELLS / columns))));

/** Returns a range with room on both sides, of 15 % each. */
export const widened = ([low, high]) => [low - 0.15 * (high - low), high + 0.15 * (high - low)];

/** Returns the coordinate of a point, by its place along a side. */
export const coordinate = ([low, high], at, side) => low + ((high - low) * at) / (side - 1);

/** Returns a row for each point: the lowest y first, and x first to vary. */
export function gridRows({ columns, row, x, y, ranges, side }) {
  const base = columns.map(({ name }) => row[name]);
  const [xAt, yAt] = [x, y].map((wanted) => columns.findIndex(({ name }) => name === wanted));
  return Array.from({ length: side * side }, (_, at) => {
    const cells = [...base];
    cells[xAt] = coordinate(ranges[0], at % side, side);
    cells[yAt] = coordinate(ranges[1], Math.floor(at / side), side);
    return cells;
  });
}

/** Returns the class and the certainty of each point, from 0 (all classes alike) to 1; or the value within its range. */
export function points({ predictions, probabilities }, classes) {
  if (!classes) {
    const [low, high] = predictions.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
    return predictions.map((value) => ({ at: 0, strength: (value - low) / (high - low || 1), value }));
  }
  const places = new Map(classes.map((name, at) => [name, at]));
  return predictions.map((name, i) => {
    const at = places.get(name);
    const value = probabilities ? probabilities[i][at] : 1;
    return { at, strength: (value - 1 / classes.length) / (1 - 1 / classes.length), value };
  });
}

/**
 * Returns the number of a colour for each class in a plane: its own one, or a free one if another class has it. If there
 * are more classes than colours, the smallest areas share the colours of others.
 */
export function coloursOf(found) {
  const areas = new Map();
  for (const { at } of found) areas.set(at, (areas.get(at) ?? 0) + 1);
  const isMany = areas.size > COLOURS;
  const taken = new Set();
  return new Map([...areas].sort(([a, m], [b, n]) => (isMany && n - m) || a - b).map(([at]) => {
    let colour = at % COLOURS;
    while (taken.has(colour) && taken.size < COLOURS) colour = (colour + 1) % COLOURS;
    taken.add(colour);
    return [at, colour];
  }));
}

/**
 * Returns the colours of an image `side` × `side`, its first line at the top. `colours`: [red, green, blue] by class.
 * `border`: that of points whose upper or right neighbour has another class, or nothing.
 */
export function pixels(found, side, background, colours, border = null) {
  const image = new Uint8ClampedArray(4 * side * side);
  found.forEach(({ at, strength }, i) => {
    const place = 4 * ((side - 1 - Math.floor(i / side)) * side + (i % side));
    const isEdge = border && [(i + 1) % side ? found[i + 1] : undefined, found[i + side]].some((next) => next && next.at !== at);
    const colour = colours.get(at);
    for (let band = 0; band < 3; band += 1) {
      image[place + band] = isEdge ? border[band] : Math.round(background[band] + (colour[band] - background[band]) * 0.9 * strength);
    }
    image[place + 3] = 255;
  });
  return image;
}
