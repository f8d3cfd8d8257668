// The shell: navigation, theme, API key, the state of the connection, and the view that the address names.
import { Component, html, render, useEffect, useRef, useState } from './vendor/preact.js';
import { apiKey, connection, events, restored, tryNow } from './lib/api.js';
import { Failure, Loading, modelPath } from './lib/parts.js';
import Models from './views/models.js';

const PAGES = { live: ['Live', () => import('./views/live.js')], learn: ['Learn', () => import('./views/learn.js')] };
const TABS = {
  model: ['Overview', () => import('./views/model.js')],
  try: ['Try it', () => import('./views/try.js')],
  decision: ['Decision', () => import('./views/decision.js')],
  drift: ['Drift', () => import('./views/drift.js')],
};
const THEMES = ['system', 'light', 'dark'];

const decoded = (part) => {
  try { return decodeURIComponent(part); } catch { return part; }
};

/** Returns the view, the model and the parameters of an address such as `#/models/iris@2/try?row=1`. */
function routeOf(hash) {
  const [, path, query] = /^#?\/?([^?]*)\??(.*)$/s.exec(hash);
  const [first = 'models', model, tab = 'model'] = path.split('/').filter(Boolean).map(decoded);
  const parameters = new URLSearchParams(query);
  if (first === 'models' && !model) return { view: 'models', parameters };
  if (first === 'models') return { view: Object.hasOwn(TABS, tab) ? tab : null, model, parameters };
  return { view: Object.hasOwn(PAGES, first) ? first : null, parameters };
}

/** Returns a number that grows with each event of some names, so that a component is drawn again. */
function useEvents(target, ...names) {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const next = () => setTurn((n) => n + 1);
    names.forEach((name) => target.addEventListener(name, next));
    return () => names.forEach((name) => target.removeEventListener(name, next));
  }, []);
  return turn;
}

function ThemeButton() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? THEMES[0]);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  const change = () => {
    document.documentElement.dataset.theme = next;
    try { localStorage.setItem('axon.theme', next); } catch { /* it holds until the page is left */ }
    setTheme(next);
  };
  return html`<button class="button small" onClick=${change} title=${`Change to ${next}`}>
    <span aria-hidden="true">◐ </span><span class="visually-hidden">Theme: </span>${theme}</button>`;
}

function KeyForm() {
  const [given, setGiven] = useState('');
  const field = useRef();
  useEffect(() => field.current.focus(), []);
  const use = (event) => {
    event.preventDefault();
    if (given.trim()) apiKey.value = given.trim();
  };
  return html`<form class="card stack key-form" onSubmit=${use}>
    <h1>API key</h1>
    <p class="muted">This server asks for a key. The key stays in this tab and goes to this server alone.</p>
    <label class="field">Key<input ref=${field} type="password" autocomplete="off" spellcheck=${false}
      value=${given} onInput=${(event) => setGiven(event.target.value)} /></label>
    ${apiKey.refused && html`<p class="notice bad" role="alert">${apiKey.refused}</p>`}
    <div><button class="button primary">Use this key</button></div>
  </form>`;
}

const Connection = () => {
  useEvents(events, 'connection');
  return html`<div class="connection" role="status">${connection.lost && html`<div class="notice warn">
    <span>The server does not answer. The next try is in ${connection.wait} s.</span>
    <button class="button small" onClick=${tryNow}>Try now</button></div>`}</div>`;
};

/** Loads and shows a view, and shows its faults in its place. */
class View extends Component {
  load() {
    const { name } = this.props;
    this.name = name;
    if (name === 'models') return this.setState({ module: Models, error: null });
    this.setState({ module: null, error: null });
    const [, load] = TABS[name] ?? PAGES[name];
    return load().then(
      (module) => this.name === name && this.setState({ module: module.default }),
      async (error) => { // a browser remembers that a module failed: only a new page loads it again
        if (await restored()) location.reload();
        else if (this.name === name) this.setState({ error });
      },
    );
  }

  componentDidMount() { this.load(); }

  componentDidUpdate() { if (this.name !== this.props.name) this.load(); }

  componentDidCatch(error) {
    this.setState({ error });
    console.error(error);
  }

  render({ name, model, parameters, turn }, { module, error }) {
    if (error) return html`<${Failure} error=${error} retry=${() => location.reload()} />`;
    if (!module || this.name !== name) return html`<${Loading} lines=${8} />`;
    return html`<${module} key=${name === 'models' ? turn : model} model=${model} parameters=${parameters} />`;
  }
}

const Tabs = ({ model, view }) => html`<header class="frame">
  <p class="crumbs"><a href="#/models">Models</a> <span aria-hidden="true">/</span></p>
  <h1 class="name">${model}</h1>
  <nav class="tabs" aria-label="Views of the model">${Object.entries(TABS).map(([tab, [title]]) => html`
    <a href=${modelPath(model, tab === 'model' ? '' : tab)} aria-current=${tab === view ? 'page' : undefined}>${title}</a>`)}
  </nav></header>`;

const Missing = () => html`<div class="empty"><h1>There is no such view</h1>
  <p><a href="#/models">All models</a></p></div>`;

function Shell() {
  const [route, setRoute] = useState(() => ({ ...routeOf(location.hash), turn: 0 }));
  const keys = useEvents(events, 'key');
  const main = useRef();
  const seen = useRef(null);
  useEffect(() => {
    const follow = () => setRoute(({ turn }) => ({ ...routeOf(location.hash), turn: turn + 1 }));
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  const { view, model, parameters, turn } = route;
  useEffect(() => {
    const timer = view === 'models' && setTimeout(() => TABS.model[1]().catch(() => {}), 1000); // most people open it next
    return () => clearTimeout(timer);
  }, [view]);
  const place = `${view} ${model ?? ''}`;
  useEffect(() => {
    const title = model ?? PAGES[view]?.[0] ?? (view ? 'Models' : 'Not found');
    document.title = `${title} · Axon`;
    if (seen.current !== null && seen.current !== place) {
      main.current.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    seen.current = place;
  }, [place]);
  const locked = Boolean(apiKey.refused || (apiKey.needed && !apiKey.value));
  const wasLocked = useRef(locked);
  useEffect(() => {
    if (wasLocked.current && !locked) main.current.focus({ preventScroll: true }); // the form that had the focus is gone
    wasLocked.current = locked;
  }, [locked]);
  const link = (name, href, text) => html`<a href=${href} aria-current=${name === view || (name === 'models' && model)
    ? 'page' : undefined}>${text}</a>`;
  return html`
    <header class="bar"><button class="skip button" onClick=${() => main.current.focus()}>Skip to the content</button>
      <a class="brand" href="#/models">Axon</a>
      <nav aria-label="Console">${link('models', '#/models', 'Models')}${link('live', '#/live', 'Live')}
        ${link('learn', '#/learn', 'Learn')}${!apiKey.needed && html`<a href="docs">API</a>`}</nav>
      <div class="row">${apiKey.value && html`<button class="button small"
        onClick=${() => { apiKey.value = null; }}>Forget key</button>`}<${ThemeButton} /></div></header>
    <main ref=${main} tabindex="-1" key=${keys}>
      ${locked ? html`<${KeyForm} />` : view === null ? html`<${Missing} />` : html`
        ${model && html`<${Tabs} model=${model} view=${view} />`}
        <${View} name=${view} model=${model} parameters=${parameters} turn=${turn} />`}
    </main>
    <${Connection} />`;
}

const place = document.getElementById('app');
place.replaceChildren(); // the page shows the bar before this script is there
render(html`<${Shell} />`, place);
