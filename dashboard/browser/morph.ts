/**
 * Makes an element like another one and keeps what a person is using: nodes that stay are changed
 * in place, so focus, selection, scroll position, open details and typed text survive. Children
 * with the same `data-key` or `id` are the same thing, wherever they stand. What has the attribute
 * `data-owned` belongs to a script and stays as it is.
 */
export function morph(from: Element, to: Element): void {
  if (from.hasAttribute('data-owned') && to.hasAttribute('data-owned')) return;
  morphAttributes(from, to);
  const kept = new Set<ChildNode>();
  const children = [...to.childNodes].map((wanted) => {
    const same = counterpart(from, wanted, kept);
    if (same === undefined) return document.importNode(wanted, true);
    kept.add(same);
    if (same instanceof Element && wanted instanceof Element) morph(same, wanted);
    else if (same.nodeValue !== wanted.nodeValue) same.nodeValue = wanted.nodeValue;
    return same;
  });
  const gone = [...from.childNodes].filter((child) => !kept.has(child));
  for (const child of gone) child.remove();
  let next = from.firstChild;
  for (const child of children) {
    if (child === next) next = next.nextSibling;
    else from.insertBefore(child, next);
  }
}

// Without a key, the first child of the same kind that nothing else has claimed.
function counterpart(
  from: Element,
  wanted: ChildNode,
  claimed: ReadonlySet<ChildNode>,
): ChildNode | undefined {
  const key = keyOf(wanted);
  for (const child of from.childNodes) {
    if (child.nodeName === wanted.nodeName && keyOf(child) === key && !claimed.has(child))
      return child;
  }
  return undefined;
}

function keyOf(node: Node): string | undefined {
  if (!(node instanceof Element)) return undefined;
  return node.getAttribute('data-key') ?? (node.id === '' ? undefined : node.id);
}

function morphAttributes(from: Element, to: Element): void {
  // Whoever looks at the page opens its details.
  const isUsers = (name: string): boolean => name === 'open' && from instanceof HTMLDetailsElement;
  for (const name of from.getAttributeNames()) {
    if (!to.hasAttribute(name) && !isUsers(name)) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value && !isUsers(name)) from.setAttribute(name, value);
  }
}
