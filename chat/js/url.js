// Where the comet listens, as seen from this page.

/** The WebSocket address for a page at `page` (a Location), of a node that listens on these addresses. */
export function socketUrl(listen, page) {
  const scheme = page.protocol === 'https:' ? 'wss' : 'ws';
  const address = listen[0] ?? '127.0.0.1:3102';
  const colon = address.lastIndexOf(':');
  const [host, port] = [address.slice(0, colon), address.slice(colon + 1)];
  const loopback = (name) => /^(127\.|localhost$|\[::1\]$)/.test(name);
  const anywhere = host === '0.0.0.0' || host === '[::]';
  // An address of loopback is of no use to a page that came from elsewhere: it came through something.
  const own = anywhere || (loopback(host) && !loopback(page.hostname));
  return `${scheme}://${own ? page.hostname : host}:${port}/sub`;
}
