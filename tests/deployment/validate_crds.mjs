// Validates manifests of KEDA and Prometheus's operator: node validate_crds.mjs NODE_MODULES < [manifest, …]
// Writes the list of complaints as JSON, and the names of all fields that each kind knows.
import {readFileSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';

const modules = process.argv[2];
const PACKAGES = {'keda.sh': 'keda', 'monitoring.coreos.com': 'prometheus-operator'};

/** Returns the names of all fields in the types of a package: the validators let unknown fields pass. */
function fieldNames(folder) {
  const names = new Set();
  for (const entry of readdirSync(folder, {recursive: true})) {
    if (!entry.endsWith('.d.ts')) continue;
    for (const [, name] of readFileSync(join(folder, entry), 'utf8').matchAll(/"?(\w+)"?\??:/g)) names.add(name);
  }
  return [...names];
}

const complaints = [];
const known = {};
for (const manifest of JSON.parse(readFileSync(0, 'utf8'))) {
  const [group, version] = manifest.apiVersion.split('/');
  const folder = join(modules, '@kubernetes-models', PACKAGES[group]);
  const file = pathToFileURL(join(folder, group, version, `${manifest.kind}.js`));
  const models = await import(file);
  try {
    new models[manifest.kind](manifest).validate();
  } catch (error) {
    complaints.push(`${manifest.kind}: ${error.message}`);
  }
  known[manifest.kind] ??= fieldNames(folder);
}
process.stdout.write(JSON.stringify({complaints, known}));
