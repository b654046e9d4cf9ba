// Values as people read them. Pure.

const WHOLE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** A count: all digits below a million, then `1.23 M`. */
export function count(value) {
  if (!Number.isFinite(value)) return '–';
  if (Math.abs(value) < 1e6) return WHOLE.format(value);
  return scaled(value, 1000, ['', 'K', 'M', 'G', 'T', 'P']);
}

/** A count per second: a decimal below ten. */
export function rate(value) {
  if (value === null || !Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  if (value < 0.1) return '<0.1';
  return value < 10 ? value.toFixed(1).replace(/\.0$/, '') : count(value);
}

/** Bytes in powers of 1024. */
export function bytes(value) {
  if (value === null || !Number.isFinite(value)) return '–';
  return scaled(value, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']);
}

function scaled(value, base, units) {
  let index = 0;
  let rest = value;
  while (Math.abs(rest) >= base && index < units.length - 1) {
    rest /= base;
    index += 1;
  }
  const digits = index === 0 || Math.abs(rest) >= 100 ? 0 : Math.abs(rest) >= 10 ? 1 : 2;
  return `${rest.toFixed(digits)} ${units[index]}`.trim();
}

/** A short number for an axis: `1.5k`. */
export function tick(value) {
  if (value >= 1e9) return `${trim(value / 1e9)}G`;
  if (value >= 1e6) return `${trim(value / 1e6)}M`;
  if (value >= 1e3) return `${trim(value / 1e3)}k`;
  return trim(value);
}

function trim(value) {
  return String(Number(value.toPrecision(3)));
}

/** A span in ms by its two largest units: `3 d 4 h`, `5 min 6 s`. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return '0 s';
  return parts
    .slice(first, first + 2)
    .filter(([value], index) => index === 0 || value > 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(' ');
}

/** Local time of day, `12:00:01`, with `fraction` also the ms. */
export function clock(ms, fraction = false) {
  const date = new Date(ms);
  const two = (value) => String(value).padStart(2, '0');
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return fraction ? `${time}.${String(date.getMilliseconds()).padStart(3, '0')}` : time;
}

/** A round trip in ms. */
export function milliseconds(value) {
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

/** Bytes as lower-case hexadecimal, in pairs. */
export function hex(body, max = Infinity) {
  return Array.from(body.subarray(0, max), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

/** A hex view: offset, 16 bytes, the same as ASCII. */
export function hexDump(body) {
  const lines = [];
  for (let offset = 0; offset < body.byteLength; offset += 16) {
    const chunk = body.subarray(offset, offset + 16);
    const left = hex(chunk.subarray(0, 8)).padEnd(23);
    const right = hex(chunk.subarray(8)).padEnd(23);
    const ascii = Array.from(chunk, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '·')).join('');
    lines.push(`${offset.toString(16).padStart(4, '0')}  ${left}  ${right}  ${ascii}`);
  }
  return lines.join('\n');
}

/** The body as text if it is text: valid UTF-8 without control characters but tab and line ends; else null. */
export function asText(body) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
    // eslint-disable-next-line no-control-regex
    return /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

/** Text as indented JSON if it is an object or a list, else null. Digits stay as they are: nothing is parsed to floats. */
export function asJson(text) {
  if (!/^\s*[[{]/.test(text)) return null;
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  return indent(text);
}

// JSON.parse would round 64-bit numbers, so the valid text itself is laid out.
function indent(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g) ?? [];
  let depth = 0;
  let out = '';
  const line = () => `\n${'  '.repeat(depth)}`;
  tokens.forEach((token, index) => {
    const next = tokens[index + 1];
    if (token === '{' || token === '[') {
      const empty = next === '}' || next === ']';
      depth += 1;
      out += empty ? token : token + line();
    } else if (token === '}' || token === ']') {
      depth -= 1;
      const previous = tokens[index - 1];
      out += previous === '{' || previous === '[' ? token : line() + token;
    } else if (token === ',') {
      out += `,${line()}`;
    } else if (token === ':') {
      out += ': ';
    } else {
      out += token;
    }
  });
  return out;
}
