-- See `:help lsp-config`; change it with `vim.lsp.config('sciwright', { ... })`.

---@type vim.lsp.Config
return {
  cmd = { 'sciwright', 'serve' },
  filetypes = { 'python' },
  root_markers = { 'pyproject.toml', '.git' },
  -- The server must know the text as it is when it places the code, not as it was 150 ms ago.
  flags = { debounce_text_changes = 0 },
  -- Neovim understands versioned edits but does not say so.
  capabilities = { workspace = { workspaceEdit = { documentChanges = true } } },
  handlers = {
    ['workspace/applyEdit'] = function(...)
      return require('sciwright').apply_edit(...)
    end,
    ['window/showMessage'] = function(...)
      return require('sciwright').show_message(...)
    end,
  },
}
