/** What the tool writes as YAML: trees of maps and lists whose leaves are plain values. */
type YamlValue = string | number | boolean | null | readonly YamlValue[] | YamlMap;
export interface YamlMap {
  readonly [key: string]: YamlValue | undefined;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const SIZE = /^\d+(\.\d+)?[kmgtp]$/;
const PLAIN = /^[A-Za-z_/][\w./@+-]*$/;
/** Words that some YAML reader takes for something else than a string. */
const TAKEN = /^(true|false|null|yes|no|on|off|y|n)$/i;

/** Block style, one value a line; list items stand at their key's indent, as the original's. */
export function toYaml(map: YamlMap, indent = ''): string {
  let text = '';
  for (const [key, value] of Object.entries(map)) {
    if (value === undefined) continue;
    text += `${indent}${key}:${entry(value, indent)}`;
  }
  return text;
}

function entry(value: YamlValue, indent: string): string {
  if (!isTree(value)) return ` ${scalar(value)}\n`;
  if (!Array.isArray(value)) return `\n${toYaml(value as YamlMap, `${indent}  `)}`;
  if (value.length === 0) return ' []\n';
  return `\n${value.map((item: YamlValue) => `${indent}- ${listItem(item, indent)}`).join('')}`;
}

function listItem(item: YamlValue, indent: string): string {
  if (!isTree(item)) return `${scalar(item)}\n`;
  return toYaml(item as YamlMap, `${indent}  `).slice(indent.length + 2);
}

function isTree(value: YamlValue): value is readonly YamlValue[] | YamlMap {
  return typeof value === 'object' && value !== null;
}

function scalar(value: string | number | boolean | null): string {
  if (typeof value !== 'string') return String(value);
  return UUID.test(value) || SIZE.test(value) || (PLAIN.test(value) && !TAKEN.test(value))
    ? value
    : JSON.stringify(value);
}
