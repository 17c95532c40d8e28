/** The part of markdown-it that the page uses; for type checking only. */
export type Nesting = -1 | 0 | 1;

export interface Token {
  readonly type: string;
  readonly tag: string;
  readonly nesting: Nesting;
  readonly level: number;
  /** The lines of a block: its first one, and the one after its last. */
  readonly map: readonly [number, number] | null;
  readonly children: readonly Token[] | null;
  readonly hidden: boolean;
  readonly info: string;
  content: string;
  attrGet(name: string): string | null;
}

export interface Delimiter {
  readonly marker: number;
  readonly length?: number;
  readonly token: number;
  readonly open: boolean;
  readonly close: boolean;
  end: number;
}

export interface Env {
  grows?: boolean;
  growing?: readonly Token[] | null;
}

export interface CoreState {
  readonly env: Env;
  readonly tokens: readonly Token[];
}

export interface InlineState {
  readonly src: string;
  readonly env: Env;
  readonly md: MarkdownIt;
  readonly tokens: readonly Token[];
  readonly delimiters: Delimiter[];
  pos: number;
  posMax: number;
  linkLevel: number;
  push(type: string, tag: string, nesting: Nesting): Token;
}

export interface Ruler<Rule> {
  before(name: string, added: string, rule: Rule): void;
  after(name: string, added: string, rule: Rule): void;
}

export default class MarkdownIt {
  constructor(options: { html: boolean; linkify: boolean; maxNesting: number });
  readonly linkify: { set(options: { fuzzyLink: boolean; fuzzyEmail: boolean; fuzzyIP: boolean }): unknown };
  readonly core: { readonly ruler: Ruler<(state: CoreState) => void> };
  readonly inline: {
    readonly ruler: Ruler<(state: InlineState, silent: boolean) => boolean>;
    readonly ruler2: Ruler<(state: InlineState) => void>;
    tokenize(state: InlineState): void;
  };
  readonly helpers: { parseLinkLabel(state: InlineState, start: number, disableNested?: boolean): number };
  validateLink(address: string): boolean;
  disable(rules: readonly string[]): this;
  parse(source: string, env: Env): Token[];
}
