// Search leads to the answer whose heading or index entries hold the words asked for.
const SMALL = new Set("a an and at by do for from how i in is my of on or the to what with".split(" "));
const stems = (text) => text.toLowerCase().replaceAll("iz", "is").match(/[\p{L}\p{N}]+/gu)
  ?.filter((word) => !SMALL.has(word)).map((word) => new Stemmer().stemWord(word)) ?? [];

/** Return the best places; words that no heading has do not count against any. */
function answers(query, least) {
  const { indexentries, alltitles, docnames, filenames, titles } = Search._index;
  const held = new Map(), often = new Map(), found = [];
  for (const [text, places] of [...Object.entries(indexentries), ...Object.entries(alltitles)])
    for (const place of places.map(([file, id]) => `${file} ${id ?? ""}`))
      held.set(place, new Set([...held.get(place) ?? [], ...stems(text)]));
  for (const words of held.values()) for (const w of words) often.set(w, (often.get(w) ?? 0) + 1);
  const worth = (words) => words.reduce((sum, w) => sum + Math.log(1 + held.size / often.get(w)), 0);
  const asked = stems(query).filter((w) => often.has(w));
  for (const [place, words] of held) {
    const share = worth(asked.filter((w) => words.has(w))) / worth(asked), [file, id] = place.split(" ");
    if (share > least) found.push([docnames[file], titles[file], id && `#${id}`, null,
      share * 1000 - words.size, filenames[file], "index"]);
  }
  return found.sort((a, b) => a[4] - b[4]).slice(-5);
}
if (typeof Search !== "undefined") {
  const plain = Search._performSearch;
  Search._performSearch = (query, ...rest) => {
    const hits = plain(query, ...rest);
    return [...hits, ...answers(query, hits.length ? 0.6 : 0)];
  };
}
