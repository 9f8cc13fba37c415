if vim.g.loaded_sciwright then
  return
end
vim.g.loaded_sciwright = true

if vim.fn.has('nvim-0.11') == 0 then
  vim.notify('sciwright: Neovim 0.11 or newer is needed, so the plugin is off', vim.log.levels.WARN)
  return
end

vim.api.nvim_create_user_command('SciwrightGenerate', function()
  require('sciwright').generate()
end, { desc = 'Generate code for the task comment at the cursor' })

vim.api.nvim_create_user_command('SciwrightCancel', function(command)
  require('sciwright').cancel(command.bang)
end, { bang = true, desc = 'Cancel the generations in this buffer (with !: in all buffers)' })

local group = vim.api.nvim_create_augroup('sciwright', {})

vim.api.nvim_create_autocmd('LspProgress', {
  group = group,
  desc = 'Follow the progress of the generations',
  callback = function(event)
    require('sciwright').on_progress(event.data.client_id, event.data.params)
  end,
})

vim.api.nvim_create_autocmd('LspDetach', {
  group = group,
  desc = 'Forget the progress of a server that has ended',
  callback = function(event)
    require('sciwright').on_detach(event.data.client_id)
  end,
})

-- `let g:sciwright_enable = 0` is how it is said in Vimscript.
if vim.g.sciwright_enable ~= false and vim.g.sciwright_enable ~= 0 then
  vim.api.nvim_create_autocmd('FileType', {
    group = group,
    desc = 'Say so when the server is not installed: Neovim writes it only to its log',
    callback = function(event)
      require('sciwright').check_executable(event.match)
    end,
  })
  vim.lsp.enable('sciwright')
end
