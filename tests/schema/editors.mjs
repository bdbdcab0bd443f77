// What VS Code's language service and the older one inside of npm's vscode-json-languageserver say with our schema.
// Arguments: the directory with node_modules, the schema, then pairs of a document and "ok" or "wrong".
import fs from "fs";
import {createRequire} from "module";

const [root, schemaPath, ...documents] = process.argv.slice(2);
const require = createRequire(`${root}/x.js`);
const inside = createRequire(require.resolve("vscode-json-languageserver/package.json"));
const schema = JSON.parse(fs.readFileSync(schemaPath, "utf8"));
let failures = 0;
const failed = (...words) => { failures += 1; console.log("FAILED", ...words); };

for (const [name, load] of [["vscode-json-languageservice", require], ["vscode-json-languageserver", inside]]) {
  const {getLanguageService, TextDocument} = load("vscode-json-languageservice");
  const service = getLanguageService({clientCapabilities: {}});
  service.configure({validate: true, schemas: [{uri: "file:///tng.schema.json", fileMatch: ["*.json"], schema}]});
  const open = (text) => {
    const document = TextDocument.create("file:///a.json", "json", 1, text);
    return [document, service.parseJSONDocument(document)];
  };
  for (let index = 0; index < documents.length; index += 2) {
    const found = await service.doValidation(...open(fs.readFileSync(documents[index], "utf8")));
    if ((found.length === 0) !== (documents[index + 1] === "ok")) {
      failed(name, documents[index], documents[index + 1], JSON.stringify(found.map((each) => each.message)));
    }
  }
  const completions = async (text) => {
    const at = text.indexOf("|");
    const [document, json] = open(text.replace("|", ""));
    return (await service.doComplete(document, document.positionAt(at), json)).items;
  };
  for (const text of [
    '{"add_ingress": [{"netfilter": {"capture_dst": {"host": |}}}]}',
    '{"add_ingress": [{"netfilter": {"capture_dst": {"port": |}}}]}',
    '{"add_ingress": [{"netfilter": {"listen_port": |}}]}',
    '{"add_ingress": [{"verify": |}]}',
    '{"add_egress": [{"attest": {"as_addr": |}}]}',
    '{"control_interface": |}',
    '{"add_ingress": [{|}]}',
    '{"add_ingress": [{"netfilter": {"capture_dst": {|}}}]}',
    '{"add_egress": [{"attest": {|}}]}',
  ]) {
    const items = await completions(text);
    if (items.length === 0) failed(name, "nothing completes", text);
    const nulls = items.filter((each) => /\bnull\b/.test(each.label + (each.insertText ?? each.textEdit?.newText ?? "")));
    if (nulls.length) failed(name, "null completes", text, JSON.stringify(nulls.map((each) => each.label)));
  }
  const missing = await service.doValidation(...open('{"add_ingress": [{"netfilter": {"capture_dst": {"port": 1}}}]}'));
  if (missing.length !== 1 || !missing[0].message.includes('"verify"')) {
    failed(name, "verify is not asked for", JSON.stringify(missing.map((each) => each.message)));
  }
  console.log(name, "ok", documents.length / 2, "documents");
}
process.exit(failures ? 1 : 0);
