// Builds elements from values and brings the page up to date with them. Nothing here parses markup: text stays text.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "polyline", "polygon", "line", "path", "circle"]);

// An element. `properties.style` is an object of CSS properties, `properties.key` tells siblings apart when they move.
function h(tag, properties, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "style") for (const [rule, text] of Object.entries(value)) element.style.setProperty(rule, text);
    else if (name === "key") element.setAttribute("data-key", value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child.nodeType ? child : String(child));
  }
}

// Makes the children of `element` look like `children`, changing only what differs: no flicker, and a selection, an
// open section or a scroll position survives.
function show(element, ...children) {
  const fresh = document.createElement("div");
  append(fresh, children);
  morphChildren(element, fresh);
}

function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept(old, name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !kept(old, name)) old.setAttribute(name, value);
  }
  if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
  morphChildren(old, fresh);
}

// What the reader opened stays open. Style goes through the object model: the page's policy forbids style attributes.
function kept(element, name) {
  return name === "style" || (name === "open" && element.nodeName === "DETAILS");
}

function morphChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) {
    const key = child.dataset.key;
    if (key !== undefined) keyed.set(key, [...(keyed.get(key) || []), child]);
  }
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = child.dataset ? child.dataset.key : undefined;
    let match = key === undefined ? place : (keyed.get(key) || []).shift();
    if (key === undefined && match && match.dataset && match.dataset.key !== undefined) match = null;
    if (!match) {
      old.insertBefore(child, place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else old.insertBefore(match, place);
    morph(match, child);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}
