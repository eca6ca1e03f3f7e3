// npx eslint --config tests/widgets/javascript/eslint.config.js widgets/static tests/widgets/javascript

const browser = ["document", "window", "navigator", "requestAnimationFrame", "setTimeout", "clearTimeout",
  "ResizeObserver", "CustomEvent", "Image", "ImageData"];

export default [
  {
    languageOptions: { ecmaVersion: 2022, sourceType: "module",
      globals: Object.fromEntries(browser.map((name) => [name, "readonly"])) },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "no-undef": "error", "no-unused-vars": "error", "no-dupe-keys": "error", "no-redeclare": "error",
      "no-unreachable": "error", "no-cond-assign": "error", "no-fallthrough": "error", "no-shadow": "error",
      "prefer-const": ["error", { destructuring: "all" }], "no-var": "error", "eqeqeq": "error",
      "use-isnan": "error", "no-implicit-globals": "error", "no-constant-condition": "error",
      "max-lines": ["error", 150], "max-lines-per-function": ["error", 60], "complexity": ["error", 18],
    },
  },
  { files: ["**/*.test.js"], rules: { "max-lines": "off" } },
];
